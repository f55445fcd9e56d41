//! Several messages of one task: they take turns, none is lost, and none makes the others wait longer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use transship_copy::{NoProgress, Slot};
use transship_embedded_registry::faults::Action;
use transship_engine::{Envelope, Next};
use transship_testkit::images;

use crate::house::House;
use crate::replicate::always;

#[tokio::test]
async fn of_two_messages_of_one_task_one_goes_on_at_a_time_and_none_is_lost() {
    let house = House::new().await;
    let sample = images::image(206, &[100]);
    house.push_and_tell(&sample).await;
    let task = Envelope::new(house.queued().await.remove(0));
    let length = Duration::from_mins(1);
    let slot = Some(Slot::until(Instant::now() + length, length));
    house
        .b
        .set_faults(Some(always("HEAD", "/manifests/v1", Action::status(503))));
    let failed = house.jobs.run(&task, Arc::new(NoProgress), slot).await.unwrap();
    assert!(matches!(failed, Next::Again(_)));
    house.b.set_faults(None);

    // The second attempt never ends.
    let (worker, same) = (Arc::clone(&house.jobs), task.clone());
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let tell = std::sync::Mutex::new(Some(tell));
    house.ledger.before(move |call, _| {
        let first = (call == "locations_get").then(|| tell.lock().unwrap().take()).flatten();
        Box::pin(async move {
            if let Some(first) = first {
                first.send(()).ok();
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    });
    let stopped = tokio::spawn(async move { worker.run(&same, Arc::new(NoProgress), slot).await });
    told.await.unwrap();

    let other = house.other_worker();
    let before = house.b.requests().len();
    for _ in 0..2 {
        let Next::Again(wait) = other.run(&task, Arc::new(NoProgress), slot).await.unwrap() else {
            panic!("the message is lost")
        };
        assert!(wait > Duration::from_secs(1) && wait <= length, "{wait:?}");
    }
    assert_eq!(house.b.requests().len(), before, "it met the other one");
    stopped.abort();
    stopped.await.unwrap_err();
    house.clock.advance(length);
    let ended = other.run(&task, Arc::new(NoProgress), slot).await.unwrap();
    assert_eq!(ended, Next::Done);
    house.assert_equal(&sample);
    let turn = format!("task {}", task.job.task().unwrap().id);
    assert!(house.take_lease(&turn, length).await, "a turn is left");
}

#[tokio::test]
async fn messages_of_one_task_do_not_make_the_waits_of_each_other_longer() {
    let house = House::new().await;
    house.push_and_tell(&images::image(207, &[100])).await;
    house
        .b
        .set_faults(Some(always("POST", "/uploads/", Action::status(503))));
    let task = Envelope::new(house.queued().await.remove(0));
    let length = Duration::from_mins(1);
    for _ in 0..6 {
        let slot = Some(Slot::until(Instant::now() + length, length));
        let again = house.jobs.run(&task, Arc::new(NoProgress), slot).await.unwrap();
        let Next::Again(wait) = again else { panic!("{again:?}") };
        assert!(wait < Duration::from_secs(2), "{wait:?}");
    }
    assert_eq!(house.task().await.attempts, 6);
}
