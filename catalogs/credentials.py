"""Credentials have no place in addresses, and none in what is said of an error."""

import base64
import os
import re

from catalogs.errors import ConfigError

# User info before the host: s3://KEY:SECRET@bucket. A secret may hold slashes, half of AWS's do,
# so that only a port tells https://host:8080/a@b from one; s3, gs and az know no ports. One part
# alone may be Azure's container (abfs://container@account.dfs.core.windows.net), a hub's revision
# (hf://name@main) or a bucket before an object's name: the last is never written in capitals.
_USER_INFO = re.compile(
    r"(?<=://)(?!\[|arn:aws[a-z-]*:s3)[^/@\s?#:]*:(?!//|\d+(?:[/?#]|$))[^@\s]*@"
    r"|(?:(?i:(?<=s3://|3a://|gs://|cs://|az://))|(?i:(?<=bfs://))|(?i:(?<=bfss://)))"
    r"(?!arn:aws[a-z-]*:s3)[^/@\s?#:]*:[^@\s]*@"
    r"|(?i:(?<=s3://|gs://|tp://|ps://))[^/@\s?#]+@"
    r"|(?i:(?<=s3://|3a://|gs://|cs://|az://))(?=[^/@\s?#]*[A-Z+=])[^@\s?#]+@"
)
_NAMES = (
    r"x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|googleaccessid"
    r"|signature|sig|sas_token|access_token|token|api_key|key|secret|password"
    r"|account_?key|secret_?access_?key|shared_?access_?signature"
)
_QUERY = re.compile(rf"(?i)(?<=[?&;#])({_NAMES})=[^&;#\s'\"<>]+")
# The addresses that may hold any, for RE2, which has no lookbehind: a quick look at whole columns.
SUSPICIOUS = rf"://.*@|(?i:[?&;#]({_NAMES})=)"
# As Azure's connection strings, the clients' settings and their calls have them. The general words
# need an equals sign, or quotes before the colon: "unexpected token: x" is none.
_PAIRS = re.compile(
    r"(?i)(?<![a-z])((?:account|access|secret|api|private)[_-]?key|shared_?access_?(?:key|signature)"
    r"|secret_?access_?key|client_?secret|(?:session|security|access|sas|hf)[_-]?token|password|passwd"
    r"|(?:secret|token|credentials?)(?=['\"]?\s*=|['\"]\s*:))"
    r"(['\"]?\s*[=:]\s*)('[^'\n]*'|\"[^\"\n]*\"|[^;,&\s]+)"
)
_BEARER = re.compile(r"(?i)\b(Bearer|SharedKey|AWS4-HMAC-SHA256)\s+[^\s,'\"]+(?:,[^'\"\n]*)?")
_BASIC = re.compile(r"(?i)\b(Basic)\s+([A-Za-z0-9+/_-]{2,}={0,2})")
_VARIABLES = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    *("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CLIENT_SECRET"),
    *("AZURE_STORAGE_CONNECTION_STRING", "AZURE_CLIENT_SECRET", "HF_TOKEN"),
)
_SHORTEST = 8  # a shorter value of a variable would be found in innocent words
HIDDEN = "***"
CREDENTIAL = "credential"  # type of a validation error whose input must not be quoted
ADVICE = "credentials come from the environment or the client's usual files"


def holds_credentials(url: str) -> bool:
    """Whether a URL has user info or a signed query; a local path never has."""
    return "://" in url and bool(_USER_INFO.search(url) or _QUERY.search(url))


def refuse_credentials(url: str) -> str:
    """The URL itself; ConfigError, which does not repeat it, where it holds credentials."""
    if holds_credentials(url):
        scheme = url.partition("://")[0]
        raise ConfigError(
            f"an address ({scheme}://...) holds credentials or a signature; {ADVICE}."
        )
    return url


def redact(text: str) -> str:
    """The text with everything that looks like a credential, or is one of ours, replaced."""
    for name in _VARIABLES:
        value = os.environ.get(name, "")
        if len(value) >= _SHORTEST:
            text = text.replace(value, HIDDEN)
    text = _USER_INFO.sub(f"{HIDDEN}@", text)
    text = _QUERY.sub(rf"\1={HIDDEN}", text)
    text = _PAIRS.sub(rf"\1\2{HIDDEN}", text)
    text = _BASIC.sub(_without_password, text)
    return _BEARER.sub(rf"\1 {HIDDEN}", text)


def _without_password(match: re.Match[str]) -> str:
    """`Basic ***` where user:password follows, in Base64; "basic authentication" as it is."""
    scheme, value = match.groups()
    try:
        plain = base64.b64decode(
            value + "=" * (-len(value) % 4), altchars=b"-_" if re.search("[-_]", value) else None
        )
    except ValueError:
        return match[0]
    return f"{scheme} {HIDDEN}" if b":" in plain else match[0]
