#!/bin/bash
# Succeeds when the server answers over TCP. A refused login is an answer.
exec mysqladmin --no-defaults --host=127.0.0.1 --port=3306 --protocol=TCP --connect-timeout=3 --silent ping
