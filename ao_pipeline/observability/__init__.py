"""What operators see: the stored view, the health verdict and log lines. Pure values; the exporter renders them."""
