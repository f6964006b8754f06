//! Everything that ./x offers: build, test, lint, bench, demo.

fn main() {}
