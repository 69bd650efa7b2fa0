"""The benchmark's parts: processes, contenders, measurements, the report."""
