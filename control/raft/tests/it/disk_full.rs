use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use skep_raft::{Options, Store, StoreError};
use tempfile::TempDir;

use crate::support::{all, delete, put};

/// A small file system of its own.
struct Disk {
    dir: TempDir,
}

impl Disk {
    /// `None`, having said why, where mounting is not allowed; that is a failure under CI.
    fn new(mib: u32) -> Option<Disk> {
        let dir = TempDir::new().unwrap();
        let options = format!("size={mib}m");
        match mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str())) {
            Ok(()) => Some(Disk { dir }),
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "mounting a tmpfs needs root: {error}");
                eprintln!("not run, since mounting a tmpfs needs root: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Takes all the room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("ballast");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 20, 4096, 1] {
            let block = vec![1; size];
            while match file.write_all(&block) {
                Ok(()) => true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StorageFull);
                    false
                }
            } {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Detached: a store that failed may still have files open.
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}

fn options(disk: &Disk, reserve_bytes: u64) -> Options {
    Options { reserve_bytes, ..Options::new(disk.path().join("store"), 1) }
}

#[tokio::test]
async fn writes_are_refused_before_the_disk_is_full_and_go_on_once_there_is_room() {
    let Some(disk) = Disk::new(128) else { return };
    let store = Store::open(options(&disk, 32 << 20)).await.unwrap();
    store.txn(put("kept", "v")).await.unwrap();
    let mut written = 0;
    let full = loop {
        match store.txn(put(format!("large/{written}"), vec![7; 1 << 20])).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 200, "the disk has to be full by now");
    };
    assert!(matches!(full, StoreError::DiskFull { .. }), "{full:?}");
    assert!(full.to_string().contains(disk.path().to_str().unwrap()), "{full}");
    assert_eq!(store.range(all(0)).await.unwrap().count, written + 1);
    store.txn(delete("large/", Some("large0"))).await.unwrap();
    let revision = store.read_index().await.unwrap();
    store.compact(revision).await.unwrap();

    let ballast = disk.fill();
    let refused = store.txn(put("kept", "w")).await;
    assert!(matches!(refused, Err(StoreError::DiskFull { bytes_free: 0, .. })), "{refused:?}");
    fs::remove_file(ballast).unwrap();
    fs::remove_dir_all(disk.path().join("store/snapshots")).unwrap();
    store.shutdown().await.unwrap();
    let store = Store::open(options(&disk, 0)).await.unwrap();
    assert_eq!(store.txn(put("kept", "x")).await.unwrap().revision, revision + 1);
    assert_eq!(store.range(all(0)).await.unwrap().count, 1);
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn without_a_reserve_the_store_fails_clearly_and_opens_again() {
    let Some(disk) = Disk::new(64) else { return };
    let store = Store::open(options(&disk, 0)).await.unwrap();
    let acknowledged = store.txn(put("kept", "v")).await.unwrap().revision;
    let ballast = disk.fill();
    let error = loop {
        // Some may still fit into what the log's file has.
        if let Err(error) = store.txn(put("more", vec![7; 1 << 10])).await {
            break error;
        }
    };
    assert!(matches!(error, StoreError::DiskFull { .. } | StoreError::Failed { .. }), "{error:?}");
    fs::remove_file(ballast).unwrap();
    // It may have failed for good: what counts is that nothing is lost.
    let _ = store.shutdown().await;
    let store = Store::open(options(&disk, 0)).await.unwrap();
    assert!(store.read_index().await.unwrap() >= acknowledged);
    store.txn(put("kept", "w")).await.unwrap();
    store.shutdown().await.unwrap();
}
