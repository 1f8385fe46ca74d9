"""The pages that a person sees while signing in: plain HTML, without scripts and without anything foreign."""

import base64
import hashlib
from html import escape
from typing import Final

from starlette.responses import HTMLResponse

from api.oauth.flows import Flow
from api.oauth.redirects import form_target, shown_host

_STYLE: Final = """
:root{color-scheme:light dark;--bg:#f3f4f7;--card:#fff;--text:#1b1f2a;--soft:#5d6475;--line:#d9dce4;
--main:#2f5bea;--main-text:#fff;--bad:#b3261e;--bad-bg:#fdecea}
@media (prefers-color-scheme:dark){:root{--bg:#14161c;--card:#1e2129;--text:#eceef4;--soft:#a2a9ba;
--line:#363b48;--main:#7b9bff;--main-text:#10131a;--bad:#ffb4ab;--bad-bg:#3a1d1b}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;background:var(--bg);
color:var(--text);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{width:100%;max-width:27rem;background:var(--card);border:1px solid var(--line);border-radius:14px;
padding:2rem;box-shadow:0 8px 30px rgb(0 0 0/.08)}
.brand{font-size:.85rem;font-weight:600;letter-spacing:.02em;color:var(--soft);margin:0 0 1.25rem}
h1{font-size:1.3rem;line-height:1.3;margin:0 0 .6rem;overflow-wrap:anywhere}
p{margin:.5rem 0}.soft{color:var(--soft);font-size:.92rem}
code{font:.88em ui-monospace,SFMono-Regular,Menlo,monospace;overflow-wrap:anywhere}
ul{margin:.9rem 0;padding:.9rem 1rem .9rem 2rem;border:1px solid var(--line);border-radius:10px}
li{margin:.25rem 0;overflow-wrap:anywhere}
label{display:block;margin:1rem 0 .3rem;font-weight:600;font-size:.92rem}
input{width:100%;padding:.65rem .75rem;font:inherit;color:inherit;background:transparent;
border:1px solid var(--line);border-radius:8px}
input:focus-visible,button:focus-visible{outline:3px solid var(--main);outline-offset:2px}
.row{display:flex;gap:.75rem;margin-top:1.5rem}
button{flex:1;padding:.7rem 1rem;font:inherit;font-weight:600;border-radius:8px;cursor:pointer;
border:1px solid var(--line);background:transparent;color:inherit}
button.main{background:var(--main);border-color:var(--main);color:var(--main-text)}
.bad{margin:1rem 0 0;padding:.65rem .8rem;border-radius:8px;background:var(--bad-bg);color:var(--bad)}
"""

_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


def sign_in_page(
    number: str, flow: Flow, target: str, problem: str | None = None, username: str = "", code: bool = False
) -> HTMLResponse:
    """Ask who it is.

    Args:
        number: The flow's id.
        flow: What they are on their way to.
        target: Where a browser may be sent after this form.
        problem: What was wrong with the last attempt.
        username: What was typed before.
        code: Whether a second factor is asked for.
    """
    asked = (
        '<label for="code">Code of your authenticator, or a recovery code</label>'
        '<input id="code" name="code" autocomplete="one-time-code" required>'
        if code
        else ""
    )
    body = f"""<h1>Sign in</h1>
<p class="soft">{escape(flow.purpose)}</p>
{_told(problem)}
<form method="post" action="/oauth/sign-in">
{_hidden(number, flow)}
<label for="username">Username</label>
<input id="username" name="username" value="{escape(username)}" autocomplete="username"
 required{_focus(not code)}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password"
 required{_focus(code)}>
{asked}
<div class="row"><button class="main">Sign in</button></div>
</form>"""
    return _page("Sign in", body, 200 if problem is None else 401, target)


def consent_page(number: str, flow: Flow, days: int) -> HTMLResponse:
    """Ask whether a client may do what it wants."""
    known = (
        "This program registered itself: nobody has checked that its name is true."
        if flow.client_registered
        else f"The program is known as <code>{escape(flow.client_id)}</code>"
    )
    body = f"""<h1>{escape(flow.client_name)} asks for access</h1>
<p>You are signed in as <strong>{escape(flow.username)}</strong>.</p>
<ul>
<li>It may use <code>{escape(flow.resource)}</code> and call its tools, as far as you may yourself.</li>
<li>It gets no other access to your account.</li>
<li>Its access ends when you end it, or when it is not used for {days} days.</li>
</ul>
<p class="soft">{known} Then you go back to <strong>{escape(shown_host(flow.redirect_uri))}</strong>.
Go on only if you have just begun this there.</p>
<form method="post" action="/oauth/consent">
{_hidden(number, flow)}
<div class="row"><button name="decision" value="deny">Deny</button>
<button class="main" name="decision" value="allow">Allow</button></div>
</form>"""
    return _page(f"{flow.client_name} asks for access", body, 200, form_target(flow.redirect_uri))


def notice_page(title: str, text: str, status: int) -> HTMLResponse:
    """Say something, with nothing to do."""
    return _page(title, f"<h1>{escape(title)}</h1><p>{escape(text)}</p>", status, None)


def _page(title: str, body: str, status: int, target: str | None) -> HTMLResponse:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - MCP Platform</title><style>{_STYLE}</style></head>"
        f'<body><main><p class="brand">MCP Platform</p>{body}</main></body></html>'
    )
    return HTMLResponse(text, status, _headers(target))


def _headers(target: str | None) -> dict[str, str]:
    # Browsers hold a form's redirects against `form-action` too, so where it leads in the end is named.
    forms = f"'self' {target}" if target else "'none'"
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {forms};"
        " frame-ancestors 'none'; base-uri 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }


def _hidden(number: str, flow: Flow) -> str:
    return (
        f'<input type="hidden" name="flow" value="{escape(number)}">'
        f'<input type="hidden" name="csrf" value="{escape(flow.csrf)}">'
    )


def _told(problem: str | None) -> str:
    return f'<p class="bad" role="alert">{escape(problem)}</p>' if problem else ""


def _focus(wanted: bool) -> str:
    return " autofocus" if wanted else ""
