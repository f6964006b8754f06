//! The store over openraft and RocksDB.
