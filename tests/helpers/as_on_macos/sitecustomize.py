"""Python without what Linux alone has, as it is on macOS: put this folder on PYTHONPATH.

Packages that were built for Linux keep /proc, which they could not do without; the project may not
read it.
"""

import fcntl
import os
import resource
import select
import sys
import sysconfig
from types import FrameType

LINUX_ONLY = {
    os: """posix_fallocate posix_fadvise sched_getaffinity sched_setaffinity copy_file_range splice
        memfd_create eventfd pidfd_open getrandom fdatasync O_TMPFILE O_DIRECT setns unshare
        getxattr setxattr listxattr removexattr""",
    fcntl: "F_OFD_GETLK F_OFD_SETLK F_OFD_SETLKW F_ADD_SEALS F_SETPIPE_SZ F_SETLEASE",
    resource: "prlimit",
    select: "epoll",
}
LIBRARY = (sysconfig.get_path("stdlib"), "<frozen")
PACKAGES = f"{os.sep}site-packages{os.sep}"

for module, names in LINUX_ONLY.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)


os.process_cpu_count = os.cpu_count  # of Python 3.13, which asks what Linux alone has


def _of_a_package() -> bool:
    """Whether the innermost frame outside Python's own library belongs to an installed package."""
    frame: FrameType | None = sys._getframe(2)
    while frame:
        file = frame.f_code.co_filename
        if PACKAGES in file or not file.startswith((*LIBRARY, __file__)):
            return PACKAGES in file
        frame = frame.f_back
    return False


def _refuse_proc(path: object) -> None:
    if str(path).startswith("/proc/") and not _of_a_package():
        raise FileNotFoundError(2, "there is no /proc on macOS", str(path))


def _opens(event: str, arguments: tuple[object, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir"):
        _refuse_proc(arguments[0])


def _looks(name: str) -> None:
    """Refuse what looks at files without opening them."""
    real = getattr(os, name)

    def function(path: object, *arguments: object, **options: object) -> object:
        _refuse_proc(path)
        return real(path, *arguments, **options)

    setattr(os, name, function)
    for able in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
        if real in able:
            able.add(function)


sys.addaudithook(_opens)
for name in ("stat", "readlink"):
    _looks(name)
