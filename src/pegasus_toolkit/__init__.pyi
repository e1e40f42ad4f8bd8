"""What is public, for type checkers and editors: the module itself imports nothing before it is used."""

from pegasus_toolkit.files.api import File as File
from pegasus_toolkit.files.api import Result as Result
from pegasus_toolkit.files.api import TransfersFailed as TransfersFailed
from pegasus_toolkit.files.api import VerificationFailed as VerificationFailed
from pegasus_toolkit.files.api import copy as copy
from pegasus_toolkit.files.api import copy_async as copy_async
from pegasus_toolkit.files.api import ls as ls
from pegasus_toolkit.files.api import ls_async as ls_async
from pegasus_toolkit.files.api import sync as sync
from pegasus_toolkit.files.api import sync_async as sync_async
from pegasus_toolkit.files.api import verify as verify
from pegasus_toolkit.files.api import verify_async as verify_async
from pegasus_toolkit.files.verifying import Difference as Difference
from pegasus_toolkit.files.verifying import Verdict as Verdict
from pegasus_toolkit.transfer.errors import BadSpecification as BadSpecification
from pegasus_toolkit.transfer.errors import Denied as Denied
from pegasus_toolkit.transfer.errors import NotFound as NotFound
from pegasus_toolkit.transfer.errors import TransferError as TransferError
from pegasus_toolkit.transfer.errors import Unreachable as Unreachable
from pegasus_toolkit.transfer.model import Outcome as Outcome
from pegasus_toolkit.transfer.observer import Progress as Progress

__version__: str
