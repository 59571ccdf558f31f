"""What is forgotten of an address that a pod gave back: connections and neighbours."""
