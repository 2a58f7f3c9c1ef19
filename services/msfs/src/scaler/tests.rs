use std::time::Duration;

use im_blob::{DirectoryOptions, DirectoryStore};
use image::{DynamicImage, ImageFormat};
use tokio::time::timeout;

use super::*;

const WAIT: Duration = Duration::from_secs(30);

struct Rig {
    store: DirectoryStore,
    metrics: Metrics,
    scaler: Scaler,
    _dir: tempfile::TempDir,
}

async fn rig(workers: usize, jobs: usize, jobs_per_address: usize) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let options = DirectoryOptions::default().free_space_floor(0);
    let store = DirectoryStore::open(dir.path(), options).await.unwrap();
    let metrics = Metrics::default();
    let limits = Limits {
        picture: Bounds {
            max_side: 2_000,
            max_pixels: 1_000_000,
            memory: 8 << 20,
        },
        workers,
        jobs,
        jobs_per_address,
    };
    let scaler = Scaler::new(
        Arc::new(store.clone()),
        limits,
        metrics.clone(),
        TaskTracker::new(),
    );
    Rig {
        store,
        metrics,
        scaler,
        _dir: dir,
    }
}

impl Rig {
    async fn stored(&self, bytes: Vec<u8>) -> Wanted {
        let original = BlobName::random();
        let put = Put {
            name: original,
            meta: BlobMeta::new("image/png", ".png").unwrap(),
            bound: bytes.len() as u64,
            expected: bytes.len() as u64,
        };
        let mut writer = self.store.begin(put).await.unwrap();
        writer.write(bytes.into()).await.unwrap();
        writer.finish().await.unwrap();
        Wanted {
            original,
            ending: Ending::parse(".png").unwrap(),
            side: 100,
        }
    }

    async fn picture(&self) -> Wanted {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let picture = DynamicImage::new_rgb8(400, 200);
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        self.stored(bytes.into_inner()).await
    }

    async fn scaled(&self, wanted: &Wanted, last: u8) -> Result<Outcome, Busy> {
        let from = [192, 0, 2, last].into();
        let scaled = self.scaler.scaled(wanted.clone(), from);
        timeout(WAIT, scaled).await.expect("it ends")
    }

    fn made(&self) -> u64 {
        self.metrics.scale_count()
    }
}

#[tokio::test]
async fn a_picture_that_many_ask_for_is_scaled_once_and_stored() {
    let rig = rig(2, 4, 4).await;
    let wanted = rig.picture().await;
    let all = (0..20).map(|last| rig.scaled(&wanted, last));
    for outcome in futures::future::join_all(all).await {
        assert!(matches!(outcome, Ok(Outcome::Made(_))), "{outcome:?}");
    }
    assert!(matches!(rig.scaled(&wanted, 1).await, Ok(Outcome::Made(_))));
    assert_eq!(rig.made(), 1);
    let stored = rig.store.head(wanted.name()).await.unwrap();
    assert_eq!(stored.meta.content_type(), "image/jpeg");
    assert_eq!(stored.meta.tag(), "scaled.png");
    assert_eq!(rig.scaler.jobs(), 0);
}

#[tokio::test]
async fn what_cannot_be_scaled_is_tried_once() {
    let rig = rig(2, 4, 4).await;
    let wanted = rig.stored(b"\x89PNG\r\n\x1a\nbut no more".to_vec()).await;
    for _ in 0..3 {
        let outcome = rig.scaled(&wanted, 1).await;
        assert!(matches!(outcome, Ok(Outcome::Unscalable)), "{outcome:?}");
    }
    assert_eq!(rig.made(), 1);
}

#[tokio::test]
async fn jobs_are_bounded_in_all_and_by_address() {
    let rig = rig(1, 3, 2).await;
    // Nothing goes on until the worker is given back.
    let worker = rig.scaler.0.workers.acquire().await.unwrap();
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(rig.picture().await);
    }
    let begin = |wanted: &Wanted, last: u8| {
        let mut jobs = rig.scaler.0.lock();
        let network = Network::host([192, 0, 2, last].into());
        rig.scaler.begin(&mut jobs, wanted.clone(), network)
    };
    let waiting = [begin(&all[0], 1), begin(&all[1], 1)];
    assert!(waiting.iter().all(Result::is_ok));
    assert_eq!(begin(&all[2], 1).unwrap_err(), Busy, "of one address");
    let third = begin(&all[2], 2);
    assert!(third.is_ok());
    assert_eq!(begin(&all[3], 3).unwrap_err(), Busy, "in all");
    drop(worker);
    for outcome in waiting.into_iter().chain([third]) {
        let mut outcome = outcome.unwrap();
        let made = timeout(WAIT, outcome.wait_for(Option::is_some)).await;
        made.expect("it ends").expect("it is told");
    }
    // What was waited for has made room.
    assert!(matches!(rig.scaled(&all[3], 1).await, Ok(Outcome::Made(_))));
    assert!(rig.scaler.0.lock().by_network.is_empty());
}

#[tokio::test]
async fn a_job_goes_on_when_whoever_asked_has_gone() {
    let rig = rig(1, 3, 2).await;
    let worker = rig.scaler.0.workers.acquire().await.unwrap();
    let wanted = rig.picture().await;
    let from = [192, 0, 2, 1].into();
    let asked = rig.scaler.scaled(wanted.clone(), from);
    assert!(timeout(Duration::from_millis(1), asked).await.is_err());
    let mut outcome = rig.scaler.0.lock().open[&wanted.name()].clone();
    drop(worker);
    let made = timeout(WAIT, outcome.wait_for(Option::is_some)).await;
    assert!(matches!(*made.unwrap().unwrap(), Some(Outcome::Made(_))));
    assert!(rig.store.head(wanted.name()).await.is_ok());
}

#[tokio::test]
async fn a_picture_that_is_not_there_fails_and_is_tried_again() {
    let rig = rig(1, 3, 2).await;
    let wanted = Wanted {
        original: BlobName::random(),
        ..rig.picture().await
    };
    for _ in 0..2 {
        assert!(matches!(rig.scaled(&wanted, 1).await, Ok(Outcome::Failed)));
    }
    assert_eq!(rig.scaler.jobs(), 0);
}
