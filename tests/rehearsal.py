"""The whole job on users with real names in 20 scripts: python -m tests.rehearsal http://127.0.0.1:5000 1000

Each signs up and logs in; every token is verified, refreshed three times and verified again; each logs out and then
is refused.
"""

import asyncio
import sys
from collections import Counter
from itertools import product

import httpx

GIVEN_AND_FAMILY = {
    "Latin": ("Zoë Łukasz Ñusta Þóra", "Çelik O'Brien Nguyễn Müller"),
    "Greek": ("Ελένη Γιώργος Σοφία Ανδρέας", "Παπαδόπουλος Βλάχου Οικονόμου Νικολάου"),
    "Cyrillic": ("Олена Дмитрий Ђорђе Айгүл", "Шевченко Иванова Јовановић Әлиева"),
    "Armenian": ("Անահիտ Տիգրան Նարե Արամ", "Հակոբյան Պետրոսյան Սարգսյան Գրիգորյան"),
    "Georgian": ("ნინო გიორგი თამარი ლევანი", "ბერიძე კაპანაძე გელაშვილი მაისურაძე"),
    "Hebrew": ("נועה דניאל שרה יוסף", "כהן לוי מזרחי פרץ"),
    "Arabic": ("فاطمة محمد ليلى یاسمین", "الحسن خان العلي رضایی"),
    "Devanagari": ("प्रिया अर्जुन लक्ष्मी सुनील", "शर्मा पाटील थापा गुप्ता"),
    "Bengali": ("অনন্যা রহিম শ্রেয়া তানভীর", "চট্টোপাধ্যায় হোসেন সেন ইসলাম"),
    "Gurmukhi": ("ਹਰਪ੍ਰੀਤ ਗੁਰਦੀਪ ਸਿਮਰਨ ਜਸਬੀਰ", "ਸਿੰਘ ਕੌਰ ਗਿੱਲ ਢਿੱਲੋਂ"),
    "Gujarati": ("આરતી જયેશ મીના હાર્દિક", "પટેલ શાહ દેસાઈ મહેતા"),
    "Tamil": ("கவிதா முருகன் மீனா செல்வம்", "சுப்ரமணியன் ராஜா நடராஜன் பாண்டியன்"),
    "Telugu": ("లక్ష్మి వెంకట్ సీత రాము", "రెడ్డి నాయుడు రావు శర్మ"),
    "Sinhala": ("නිමල් සඳුනි කමල් දිල්කි", "පෙරේරා සිල්වා ප්‍රනාන්දු බණ්ඩාර"),
    "Thai": ("สมชาย มาลี ณัฐพล สุดา", "ใจดี ศรีสุข แก้วใส แสงจันทร์"),
    "Khmer": ("សុខា ដារា ចន្ទា វិចិត្រ", "សុខ ហេង លី កែវ"),
    "Ethiopic": ("ሰላም ዳዊት ሐና ገብረ", "ተስፋዬ በቀለ ኃይሉ ወልደ"),
    "Hangul": ("민준 서연 지우 하은", "김 이 박 최"),
    "Han": ("伟 秀英 𠮷子 嘉怡", "王 欧阳 陳 司馬"),
    "Kana": ("さくら ひなた ユウト アイ", "すずき さとう タナカ ヤマダ"),
}


def people(count: int) -> list[str]:
    """`count` different names, the scripts in turn."""
    pairs = [[f"{g}.{f}" for g, f in product(*(part.split() for part in parts))] for parts in GIVEN_AND_FAMILY.values()]
    names = [f"{pairs[i % 20][i // 20 % 16]}.{i}" for i in range(count)]
    assert len(set(names)) == count
    return names


async def _expect(counts: Counter[str], what: str, answer: httpx.Response, status: int = 200) -> httpx.Response:
    if answer.status_code != status:
        raise AssertionError(f"{what}: {answer.status_code} {answer.text}")
    counts[what] += 1
    return answer


async def live(client: httpx.AsyncClient, name: str, counts: Counter[str]) -> None:
    """One user's whole life with the service."""
    credentials = {"username": name, "password": f"{name[:8]} is here"}

    async def verify(token: str) -> None:
        answer = await client.get("/auth/verify", headers={"Authorization": f"Bearer {token}"})
        await _expect(counts, "verified", answer)
        assert answer.json()["user"]["username"] == name

    await _expect(counts, "signed up", await client.post("/auth/signup", json=credentials))
    await _expect(counts, "refused as taken", await client.post("/auth/signup", json=credentials), 409)
    pair = (await _expect(counts, "logged in", await client.post("/auth/login", json=credentials))).json()
    await verify(pair["token"])
    for _ in range(3):
        answer = await client.post("/auth/refresh", json={"refreshToken": pair["refreshToken"]})
        pair = (await _expect(counts, "refreshed", answer)).json()
        await verify(pair["token"])
    token = {"refreshToken": pair["refreshToken"]}
    await _expect(counts, "logged out", await client.post("/auth/logout", json=token))
    await _expect(counts, "refused after logout", await client.post("/auth/refresh", json=token), 401)


async def rehearse(url: str, count: int, clients: int = 16) -> Counter[str]:
    """Runs `count` lives, `clients` at once; returns how often each step was seen to succeed.

    Raises AssertionError, in a group, at the first that fails.
    """
    counts: Counter[str] = Counter()
    waiting = iter(people(count))

    async def lives(client: httpx.AsyncClient) -> None:
        for name in waiting:
            await live(client, name, counts)
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{counts['logged out']} of {count}")

    async with httpx.AsyncClient(base_url=url, timeout=60) as client, asyncio.TaskGroup() as tasks:
        for _ in range(clients):
            tasks.create_task(lives(client))
    return counts


if __name__ == "__main__":
    for step, seen in asyncio.run(rehearse(sys.argv[1], int(sys.argv[2]))).items():
        sys.stdout.write(f"{seen:6} {step}\n")
