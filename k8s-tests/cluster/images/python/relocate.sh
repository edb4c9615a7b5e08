#!/usr/bin/env bash
# Moves the Debian Python in the root file system $1 to /usr/local and takes back the changes by which Debian looks for packages elsewhere.
set -euo pipefail
root=$1
lib=/usr/local/lib/python3.13
inside() { env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin PYTHONDONTWRITEBYTECODE=1 chroot "$root" "$@"; }

rm -rf "${root:?}$lib"
mv "$root/usr/lib/python3.13" "$root$lib"
mv "$root/usr/bin/python3.13" "$root/usr/local/bin/python3.13"
ln -s python3.13 "$root/usr/local/bin/python3"
ln -s python3 "$root/usr/local/bin/python"
mkdir -p "$root$lib/site-packages" "$root$lib/ensurepip/_bundled"
# The path is frozen into the interpreter, site.py is not read.
ln -s site-packages "$root$lib/dist-packages"
mv "$root"/usr/share/python-wheels/pip-*.whl "$root$lib/ensurepip/_bundled"
rm "$root$lib/EXTERNALLY-MANAGED" "$root$lib/sitecustomize.py"
sed -i "s/prefix_scheme = 'posix_local'/prefix_scheme = 'posix_prefix'/" "$root$lib/sysconfig/__init__.py"
sed -i "s#'/usr/share/python-wheels/*'#'$lib/ensurepip/_bundled'#" "$root$lib"/_sysconfigdata__linux_*.py
inside sh -c 'cd '$lib'/ensurepip/_bundled && PYTHONPATH=$(echo pip-*.whl) python -m pip install --quiet --no-index --no-cache-dir --root-user-action=ignore pip-*.whl'

rm -rf "$root"/usr/bin/{py3*,pydoc3*,pygettext3*,python3} "$root"/usr/{lib,share}/python3 "$root"/usr/share/python-wheels "$root"/etc/python3*
find "$root/usr/local" -name __pycache__ -prune -exec rm -rf {} +
[ "$(inside python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" = "$lib/site-packages" ]
inside pip --version | grep -qF "$lib"
