"""mstack-auth: sign up, log in, verify, refresh and log out with JWTs, on MySQL or MariaDB."""
