"""The networks: block tables, fusion, topologies, the multi-path network, costs."""
