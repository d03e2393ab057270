"""What tests of pages share: texts that want to be more than text, and a page that is watched."""

HOSTILE = [
    "<script>window.hit = 1; alert(1)</script>",
    "</script><script>window.hit = 1</script>",
    "<!--<script>",
    '"><img src=x onerror="window.hit = 1">',
    "<svg/onload=window.hit=1>",
    "javascript:window.hit=1",
    "<a href='javascript:window.hit=1'>x</a><style>*{display:none}</style>",
    "{{ 7 * 7 }}{% raw %}",
    "&lt;b&gt; &amp;",
    "\x1b[31mred\x1b[0m\x07",
    "a\u202egnp.exe\u2066\u200f",
    "line\u2028paragraph\u2029",
    "lone \ud800 surrogate",
    "w" * 3000,
    "__proto__",
    "quotes \" ' ` \\ ${window.hit=1}",
]


def watched(browser, path, **context):
    """A page that is open, and the list of everything that it does besides: requests, messages, errors, windows."""
    page, events = browser.new_page(**context), []
    page.set_default_timeout(10_000)
    page.on("request", lambda request: events.append(request.url) if request.url != path.as_uri() else None)
    page.on("console", lambda message: events.append(message.text))
    page.on("pageerror", lambda error: events.append(str(error)))
    page.on("dialog", lambda dialog: (events.append(dialog.message), dialog.dismiss()))
    page.on("popup", lambda popup: events.append(popup.url))
    page.goto(path.as_uri())
    return page, events
