"""Credentials have no place in addresses, and none in what is said of an error."""

import os
import re

from catalogs.errors import ConfigError

# User info before the host: s3://KEY:SECRET@bucket. One part alone may be Azure's container
# (abfs://container@account.dfs.core.windows.net) or a hub's revision (hf://name@main).
_USER_INFO = re.compile(
    r"(?<=://)[^/@\s?#]*:[^/@\s?#]*@|(?i:(?<=s3://|gs://|tp://|ps://))[^/@\s?#]+@"
)
_NAMES = (
    r"x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|googleaccessid"
    r"|signature|sig|sas_token|access_token|token|api_key|key|secret|password"
    r"|account_?key|secret_?access_?key|shared_?access_?signature"
)
_QUERY = re.compile(rf"(?i)(?<=[?&;#])({_NAMES})=[^&;#\s'\"<>]+")
# As Azure's connection strings and the clients' settings have them.
_PAIRS = re.compile(
    r"(?i)\b(AccountKey|SharedAccessSignature|aws_secret_access_key|aws_session_token)"
    r"(['\"]?\s*[=:]\s*)[^;,\s]+"
)
_BEARER = re.compile(r"(?i)\b(Bearer|SharedKey|AWS4-HMAC-SHA256)\s+[^\s,'\"]+(?:,[^'\"\n]*)?")
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
    return _BEARER.sub(rf"\1 {HIDDEN}", text)
