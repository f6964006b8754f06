use std::fs;
use std::os::unix::fs::PermissionsExt;

use skep_raft::{OpenError, Options, Store};
use tempfile::TempDir;

use crate::support::Fixture;

async fn error(options: Options) -> OpenError {
    match Store::open(options).await {
        Ok(_) => panic!("opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_directory_has_one_store_at_a_time() {
    let fixture = Fixture::new().await;
    let error = error(fixture.options.clone()).await;
    assert!(matches!(&error, OpenError::Locked { dir } if *dir == fixture.options.dir), "{error:?}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    fixture.put("a", "1").await;
}

#[tokio::test]
async fn a_store_belongs_to_one_member() {
    let fixture = Fixture::new().await;
    fixture.store.shutdown().await.unwrap();
    let error = error(Options::new(&fixture.options.dir, 2)).await;
    assert!(matches!(error, OpenError::Mismatch { .. }), "{error:?}");
    assert!(error.to_string().contains("member 1"), "{error}");
}

#[tokio::test]
async fn a_file_in_the_way_is_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("store");
    fs::write(&path, "").unwrap();
    let error = error(Options::new(&path, 1)).await;
    assert!(matches!(error, OpenError::Directory { .. }), "{error:?}");
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn a_damaged_store_says_so() {
    let fixture = Fixture::new().await;
    fixture.put("a", "1").await;
    fixture.store.shutdown().await.unwrap();
    fs::write(fixture.options.dir.join("db/CURRENT"), "MANIFEST-999999\n").unwrap();
    let error = error(fixture.options.clone()).await;
    assert!(matches!(error, OpenError::Corrupt { .. } | OpenError::Io { .. }), "{error:?}");
}

#[tokio::test]
async fn others_cannot_read_it() {
    let fixture = Fixture::new().await;
    let mode = fs::metadata(&fixture.options.dir).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "secrets are in there");
}
