"""Where graphs are computed: in process, on a LocalCluster, at an address."""
