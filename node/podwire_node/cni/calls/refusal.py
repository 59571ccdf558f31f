"""What the agent itself says no to: CNI's error object (SPEC.md, "Error").

| code | when                                                                     |
|------|--------------------------------------------------------------------------|
| 4    | CNI_COMMAND is none that needs the agent                                 |
| 5    | the message cannot be understood, or the answer is too long to be told   |
| 11   | the call's turn did not come, or the agent is leaving                    |
| 50   | the same, of a STATUS; the agent is not ready                            |
| 51   | a STATUS while something that is in force has failed                     |

All other codes are the plugin's.
"""

from __future__ import annotations

import msgspec

from podwire_core import typed
from podwire_node.cni.calls.wire import Answer, Request

INCOMPATIBLE_VERSION = 1
BAD_ENVIRONMENT = 4
INPUT_OUTPUT_FAILED = 5
BAD_JSON = 6
BAD_CONFIG = 7
TRY_AGAIN = 11
UNAVAILABLE, LIMITED = 50, 51

NEWEST_VERSION = "1.1.0"  # what an error is spelled in before the configuration is read


class Refusal(Exception):  # noqa: N818 - the word for it
    """A call that fails without the plugin's having a say."""

    def __init__(self, code: int, message: str, version: str = NEWEST_VERSION) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.version = version

    @property
    def answer(self) -> Answer:
        """The error object, and exit code 1."""
        error = {"cniVersion": self.version, "code": self.code, "msg": self.message}
        return Answer(1, msgspec.json.encode(error) + b"\n")


def error_code(answer: Answer) -> int:
    """The code of the error object that an answer is; 0 of a success."""
    return error_of(answer)[0]


def error_of(answer: Answer) -> tuple[int, str]:
    """Code and message of the error object that an answer is; 0 and "" of a success."""
    if not answer.exit_code:
        return 0, ""
    try:
        error = typed.decode(answer.stdout, _Error)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return INPUT_OUTPUT_FAILED, f"exit code {answer.exit_code} without a reason"
    return error.code, error.msg


class _Error(msgspec.Struct):
    code: int
    msg: str = ""


def later(request: Request, message: str) -> Refusal:
    """Nothing is wrong that time does not heal; STATUS has a code of its own for that."""
    return Refusal(UNAVAILABLE if request.command == "STATUS" else TRY_AGAIN, message)
