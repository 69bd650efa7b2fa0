"""What the end-to-end tests share: processes, certificates, peers, services and the wire."""
