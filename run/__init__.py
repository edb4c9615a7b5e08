"""The whole platform on one machine, for developers: `make run`.

honcho runs the services of the Procfile. etcd is not in it: honcho stops all that it runs at once, and services that
find no etcd cannot revoke their leases. So etcd is started before honcho and stopped after it.
"""
