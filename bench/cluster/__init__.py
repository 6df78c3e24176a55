"""The service on a MariaDB Galera Cluster of three nodes, broken under load."""
