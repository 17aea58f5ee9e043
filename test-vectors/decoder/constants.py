"""Numbers, labels and failure codes of envelope format version 1 (docs/format.md)."""

MAGIC = b"KFLD"  # "Layout"
VERSION = 1
SUITE = 1

KIND_MESSAGE = 1
KIND_DATA_KEY = 2
PURPOSE_LEASE_KEY = 3  # "Wrap binding"

POLICY_ALL = 1
POLICY_ANY = 2

ROLE_DIRECT = 0
ROLE_LEASED = 1
ROLE_COMPANION = 2

MANAGED = "managed"  # provider id of the vault's own HSM, "Words"

# "Layout": sizes and offsets in bytes.
IMMUTABLE_BYTES = 25
FIXED_BYTES = 29  # up to the end of the header length
MAC_BYTES = 32
SALT_BYTES = 16
IV_BYTES = 12
TAG_BYTES = 16
SECRET_BYTES = 32

# "Limits".
MAX_PAIRS = 10
MAX_NAME_CODE_POINTS = 120
MAX_VALUE_CODE_POINTS = 500
MAX_WRAPS = 20
MAX_WRAPPED_BYTES = 8_192
MANAGED_WRAPPED_BYTES = 76
MAX_KEY_ID_BYTES = 1_024
MANAGED_KEY_ID_BYTES = 16
MAX_PROVIDER_BYTES = 32
MIN_HEADER_BYTES = 80
MAX_HEADER_BYTES = 65_536
MIN_EXPONENT = 12
MAX_EXPONENT = 20
MAX_SEGMENTS = 2**32
MAX_AAD_BYTES = 65_536
MAX_TEXT_CHARACTERS = 2**28

# Labels of derivations and digests.
LABEL_CONTEXT = b"keyfold/v1/context"
LABEL_KEYS = b"keyfold/v1"
LABEL_WRAP = b"keyfold/v1/wrap"
LABEL_SCOPE = b"keyfold/v1/scope"
LABEL_KEK = b"keyfold/v1/kek"

# Failure codes.
MALFORMED_ENVELOPE = "MALFORMED_ENVELOPE"
UNSUPPORTED_VERSION = "UNSUPPORTED_VERSION"
DECRYPTION_FAILED = "DECRYPTION_FAILED"
INVALID_ARGUMENT = "INVALID_ARGUMENT"
INVALID_CONTEXT = "INVALID_CONTEXT"


class Refused(Exception):
    """An envelope or a caller's argument is refused; `code` is the failure code of the format."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code
