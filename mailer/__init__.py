"""Mailer: encrypted mailing lists for people whose website is blocked."""
