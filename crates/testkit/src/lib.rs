//! A node in process, a scripted raw client, a fault proxy, and the end-to-end suite.
