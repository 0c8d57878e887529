"""Private: the threads, who of them runs, who waits for whom."""
