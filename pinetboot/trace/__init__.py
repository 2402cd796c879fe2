"""What goes over the wire between the daemon and its Pis, taken down as a pcap: `pinetboot trace`."""
