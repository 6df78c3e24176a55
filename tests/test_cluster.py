"""The file that puts HAProxy before a Galera Cluster; `make cluster` runs it on one."""

import re
import subprocess

from tests.server import ROOT

FILE = ROOT / "service" / "deploy" / "galera.cfg"


def test_haproxy_takes_the_file() -> None:
    done = subprocess.run(
        ["haproxy", "-c", "-f", str(FILE)],
        env={"PATH": "/usr/sbin:/usr/bin:/bin:/opt/homebrew/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_the_check_sends_and_expects_what_the_comments_say() -> None:
    """In MySQL's protocol: packets of three bytes of length, a number and that much."""
    login, question, goodbye = (bytes.fromhex(sent) for sent in re.findall(r"send-binary (\w+)", FILE.read_text()))
    for number, packet in enumerate((login, question, goodbye)):
        assert int.from_bytes(packet[:3], "little") == len(packet) - 4
        assert packet[3] == (1, 0, 0)[number]
    assert login.endswith(b"\0haproxy_check\0\0")  # no password
    assert question[4:] == b"\x03show status like 'wsrep_ready'"
    assert goodbye[4:] == b"\x01"
    assert bytes.fromhex(re.findall(r"expect binary (\w+)", FILE.read_text())[-1]) == b"\x0bwsrep_ready\x02ON"
