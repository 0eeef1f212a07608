"""The vendors' faces of the simulated agency: paths, authentication, paging and error bodies, one module a vendor."""
