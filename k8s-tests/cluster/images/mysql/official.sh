#!/usr/bin/env bash
# Gives the root file system $1 the user, folders and configuration of the official image.
set -euo pipefail
root=$1
chroot "$root" mysqld --version | grep -q 'Ver 9\.7\.' || { echo "Debian no longer carries MySQL 9.7: $(chroot "$root" mysqld --version)" >&2; exit 1; }
chroot "$root" groupadd --system --gid 999 mysql
chroot "$root" useradd --system --uid 999 --gid 999 --home-dir /var/lib/mysql --no-create-home mysql
# A third of the size that the official image does not have.
rm -rf "$root"/usr/bin/{myisam*,ibd2sdi,innochecksum,mysqlslap,mysqlimport,mysqlshow,mysqlcheck,mysqlbinlog,mysql_migrate_keyring,mysql_secure_installation} \
  "$root"/usr/lib/mysql/plugin/*_client.so "$root"/usr/lib/*/perl "$root"/usr/lib/*/libperl.so* "$root"/usr/share/perl "$root"/usr/bin/perl5*-linux-gnu
rm -rf "$root"/etc/mysql "$root"/var/lib/mysql
install -d "$root/etc/mysql/conf.d" "$root/docker-entrypoint-initdb.d"
# /var/run is an absolute link to /run: followed from here, it would lead out of the image.
install -d -o 999 -g 999 -m 1777 "$root/var/lib/mysql" "$root/run/mysqld"
install -d -o 999 -g 999 -m 0750 "$root/var/lib/mysql-files"
cat > "$root/etc/my.cnf" <<'CNF'
[mysqld]
host-cache-size=0
skip-name-resolve
datadir=/var/lib/mysql
socket=/var/run/mysqld/mysqld.sock
secure-file-priv=/var/lib/mysql-files
user=mysql
pid-file=/var/run/mysqld/mysqld.pid

[client]
socket=/var/run/mysqld/mysqld.sock

!includedir /etc/mysql/conf.d/
CNF
