//! One folder per controller: a pure plan and the loop that applies it.
