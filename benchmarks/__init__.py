"""Speed, side by side with peers: ratios within one run, each library in a process of its own."""
