"""What a program needs from Debian to run: its shared libraries, and which packages they are of."""

import functools
import os
import pathlib
import re
import subprocess


def shared_libraries(program):
    """Paths of the closure, the dynamic linker included, as the program will look for them."""
    output = subprocess.run(["ldd", program], check=True, stdout=subprocess.PIPE, text=True).stdout
    missing = re.findall(r"(\S+) => not found", output)
    if missing:
        raise RuntimeError(f"{program} needs {', '.join(missing)}, which this machine does not have")
    return sorted(set(re.findall(r"(?:=> )?(/\S+) \(0x", output)))


@functools.lru_cache(maxsize=None)
def package_of(path):
    """The Debian package's name; None for what no package brought."""
    real = os.path.realpath(path)
    # dpkg knows a file by the path that its package says, which may lie below /lib or below /usr/lib.
    for candidate in {path, real, real.removeprefix("/usr"), f"/usr{path}"}:
        search = subprocess.run(["dpkg-query", "-S", candidate], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                text=True)
        if search.returncode == 0:
            return search.stdout.split(":")[0]
    return None


@functools.lru_cache(maxsize=None)
def package_version(package):
    """(version, source package) of an installed package."""
    output = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version} ${source:Package}\n", package],
                            check=True, stdout=subprocess.PIPE, text=True).stdout
    status, version, source = output.splitlines()[0].split()
    if status != "installed":
        raise RuntimeError(f"the package {package} is not installed")
    return version, source


def copyright_of(package):
    """The text of its licences, which goes where its libraries go; None where Debian was told to leave it out."""
    file = pathlib.Path(f"/usr/share/doc/{package}/copyright")
    return file.read_bytes() if file.exists() else None
