"""The failure codes: what each means, whether a run tries it again by itself, what to do about it.

Codes are stable: manifests hold them, `epa retry --reason` and `epa status` name them. This is the
one table of them; whoever raises one says in its own words what was wrong with that very work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["data", "transient", "resource", "numeric", "process", "bug", "review"]


@dataclass(frozen=True)
class FailureCode:
    """One way for a work to fail.

    ``kind`` says whose fault it is: the data's, a store's for a while, too little memory, numbers
    out of range, the process's, or the program's; ``review`` is a curator's wish. ``retried``: the
    next run takes such a work up by itself, as often as ``execution.max_attempts`` says; the others
    wait for `epa retry` or a changed input.
    """

    code: str
    kind: Kind
    retried: bool
    meaning: str
    advice: str


_REPLACE = "Replace the file and build the catalog again, or leave the work out."
_ALLOW = "then `epa retry --reason"
_LATER = "The next run tries it again; see whether the store or the network is away."

_TABLE: Final = (
    # -- the picture
    *(
        FailureCode(code, "data", False, meaning, advice)
        for code, meaning, advice in (
            ("decode_failed", "The file cannot be read as a picture.", _REPLACE),
            ("truncated", "The picture's file is cut short.", f"Fetch it anew. {_REPLACE}"),
            (
                "unsupported_mode",
                "The picture opens, but its kind of pixels cannot be shown as RGB faithfully.",
                f"Save it as 8- or 16-bit RGB, grey or CMYK. {_REPLACE}",
            ),
            (
                "too_small",
                "A side of the picture has too few pixels.",
                f"Lower execution.limits.min_side, {_ALLOW} too_small`, or take a larger scan.",
            ),
            (
                "too_large",
                "The picture has more pixels, bytes or attached data than a run takes in.",
                f"Raise execution.limits.max_pixels or max_bytes, {_ALLOW} too_large`, or take a "
                "smaller scan.",
            ),
            (
                "extreme_aspect",
                "The picture is too long for its width.",
                f"Raise execution.limits.max_aspect, {_ALLOW} extreme_aspect`, or crop it.",
            ),
            (
                "source_changed",
                "The file is no longer the one that the catalog describes.",
                "Build the catalog again.",
            ),
            (
                "missing_file",
                "The picture is not where the catalog says.",
                "Put the file there and `epa retry --reason missing_file`, or mend the catalog.",
            ),
            (
                "unreadable_file",
                "The picture's file may not be read.",
                "Grant the right to read it, then `epa retry --reason unreadable_file`.",
            ),
            (
                "bad_reference",
                "The catalog's address of a picture is none that a run opens.",
                "Mend the address in the catalog; pictures of the web are downloaded beforehand.",
            ),
        )
    ),
    # -- what the catalog says beside the picture
    *(
        FailureCode(code, "data", False, meaning, advice)
        for code, meaning, advice in (
            (
                "no_rights",
                "The catalog names neither a licence nor a rights statement.",
                "Fill in license or rights_statement, or switch execution.limits.require_rights "
                "off; then `epa retry --reason no_rights`.",
            ),
            (
                "empty_prompt",
                "The work has no motion prompt.",
                "Give it one in the catalog, or set prompts.provider to template.",
            ),
            (
                "prompt_too_long",
                "The motion prompt is longer than a run takes.",
                f"Shorten it, or raise prompts.max_length, {_ALLOW} prompt_too_long`.",
            ),
            (
                "no_proxy",
                "Proxies are given ones, and the work's is not named or not there.",
                "Fill in proxy_uri, or put the file there; then `epa retry --reason no_proxy`.",
            ),
            (
                "proxy_size",
                "The proxy has another shape than the painting.",
                "Replace it by one of the painting's shape.",
            ),
            (
                "no_mask",
                "The motion mask is not where the catalog says.",
                "Put the file there, then `epa retry --reason no_mask`.",
            ),
            (
                "mask_size",
                "The motion mask has another shape than the painting.",
                "Replace it by one of the painting's shape.",
            ),
            (
                "bad_motion",
                "The catalog's motion_strength is no number from 0 to 100.",
                "Mend it in the catalog.",
            ),
            (
                "unsupported_condition",
                "The model cannot take what the catalog asks for this work alone.",
                "Leave that column of the work empty, or choose weights that take it.",
            ),
        )
    ),
    # -- stores and networks
    *(
        FailureCode(code, "transient", True, meaning, _LATER)
        for code, meaning in (
            ("store_error", "The store that holds the picture failed, after several tries."),
            ("store_5xx", 'The store answered with a server\'s error or with "slow down".'),
            ("store_timeout", "The store did not answer in time."),
            ("dns", "The name of the store's machine could not be resolved."),
        )
    ),
    # -- memory
    FailureCode(
        "cuda_oom",
        "resource",
        True,
        "The accelerator's memory is too small for the work, alone and with the VAE slicing.",
        "Run again on a larger device, with model.dtype float16 or with execution.offload.",
    ),
    FailureCode(
        "host_oom",
        "resource",
        True,
        "The machine's memory is too small for the work, even alone.",
        "Run again with more memory, or with smaller queue_depth, canvas or max_pixels.",
    ),
    # -- numbers
    FailureCode(
        "numeric",
        "numeric",
        False,
        "The model gave no numbers or a black frame, in float32 too where that could be tried.",
        "Try another seed or prompt for the work.",
    ),
    FailureCode(
        "frozen_video",
        "numeric",
        False,
        "All frames of the video are the same, in float32 too where that could be tried.",
        "Try another seed or prompt for the work, or a model that moves more.",
    ),
    # -- the process
    FailureCode(
        "cuda_assert",
        "process",
        True,
        "A check on the accelerator failed, after which the process can compute nothing more.",
        "The next run goes on; a work that ends its process again and again is set aside.",
    ),
    FailureCode(
        "illegal_address",
        "process",
        True,
        "The accelerator failed, after which the process can compute nothing more.",
        "The next run goes on; if it happens with many works, see to the device and its driver.",
    ),
    FailureCode(
        "worker_killed",
        "process",
        False,
        "The process died three times while it was at this work, the last time alone.",
        "Look at what is unusual about the work, then `epa retry --reason worker_killed`.",
    ),
    # -- the program
    FailureCode(
        "encode_failed",
        "bug",
        False,
        "The frames could not be written as a video.",
        "See the message, then `epa retry --reason encode_failed`.",
    ),
    FailureCode(
        "unexpected",
        "bug",
        False,
        "The program met an error that it does not know.",
        "The log has the traceback under the digest of the message: report it.",
    ),
    # -- set aside
    FailureCode(
        "rejected",
        "review",
        False,
        "A curator rejected the work in a review.",
        "Mark it keep or redo in the gallery's review, then `epa retry --from review.csv`.",
    ),
)

CODES: Final = {entry.code: entry for entry in _TABLE}


def retried(code: str) -> bool:
    """Whether a run tries works that failed with ``code`` again by itself."""
    return code in CODES and CODES[code].retried


def kind(code: str) -> Kind:
    """Whose fault ``code`` is; a code of another version counts as the program's."""
    return CODES[code].kind if code in CODES else "bug"
