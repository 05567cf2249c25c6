//! What happens when services fail, are slow, or are too many requests' target.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::{Seen, Tour, expect_status, share, until};
use crate::demo::client::Answer;

/// Answers of the other instance in a row that show that one is ejected: by chance, once in 2^40.
const IN_A_ROW: usize = 40;

pub async fn retry(tour: &mut Tour<'_>) -> Seen {
    let routes = |retries: &str| {
        format!("  - route: [{{destination: {{host: catalog, subset: v1}}}}]\n    retries: {{{retries}}}\n")
    };
    let app = tour.running.app("catalog-v1")?.clone();
    let headers = |key: &'static str| [("x-demo-fail-first", "2"), ("x-demo-key", key), ("x-demo-mark", key)];
    tour.route_catalog(&routes("attempts: 2, retryOn: 5xx")).await?;
    expect_status(&tour.get("catalog", "/", &headers("retry-2")).await?, 200)?;
    let attempts = app.marked("retry-2");
    ensure!(attempts == 3, "{attempts} attempts instead of 3");
    tour.route_catalog(&routes("attempts: 1, retryOn: 5xx")).await?;
    expect_status(&tour.get("catalog", "/", &headers("retry-1")).await?, 503)?;
    let attempts = app.marked("retry-1");
    ensure!(attempts == 2, "{attempts} attempts instead of 2");
    tour.route_catalog(&routes("attempts: 0")).await?;
    expect_status(&tour.get("catalog", "/", &headers("retry-0")).await?, 503)?;
    let attempts = app.marked("retry-0");
    ensure!(attempts == 1, "{attempts} attempts instead of 1");
    Ok("2 failures: 200 with 2 retries (3 attempts seen), 503 with 1 and with none".to_owned())
}

pub async fn timeout(tour: &mut Tour<'_>) -> Seen {
    tour.route_catalog(
        "  - route: [{destination: {host: catalog, subset: v1}}]\n    timeout: 0.5s\n    retries: {attempts: 0}\n",
    )
    .await?;
    let begun = Instant::now();
    let late = tour.get("catalog", "/", &[("x-demo-delay-ms", "10000")]).await?;
    let after = begun.elapsed();
    expect_status(&late, 504)?;
    // Envoy's clock counts in milliseconds and may have begun a little earlier.
    ensure!((0.45..5.0).contains(&after.as_secs_f64()), "504 after {after:?}");
    expect_status(&tour.get("catalog", "/", &[]).await?, 200)?;
    Ok(format!("504 after {} ms", after.as_millis()))
}

pub async fn fault_abort(tour: &mut Tour<'_>) -> Seen {
    tour.route_catalog(
        "  - route: [{destination: {host: catalog, subset: v1}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 30}}}
",
    )
    .await?;
    let tour = &*tour;
    share(0.3, async || {
        let answers = tour.many("catalog", &[], 1000, 16).await?;
        let aborted = answers.iter().filter(|(answer, _)| answer.status == 418).count();
        let fine = answers.iter().filter(|(answer, _)| answer.status == 200).count();
        ensure!(aborted + fine == answers.len(), "{} answers are neither", answers.len() - aborted - fine);
        Ok((aborted, answers.len()))
    })
    .await
}

pub async fn fault_delay(tour: &mut Tour<'_>) -> Seen {
    // Half the delay tells the two apart: long against what a request takes on a busy machine, and Envoy's timers,
    // which count from the start of the event loop's turn, fire a little early.
    const DELAYED: Duration = Duration::from_millis(500);
    tour.route_catalog(
        "  - route: [{destination: {host: catalog, subset: v1}}]
    fault: {delay: {fixedDelay: 1s, percentage: {value: 20}}}
",
    )
    .await?;
    let tour = &*tour;
    share(0.2, async || {
        let answers = tour.many("catalog", &[], 500, 32).await?;
        for (answer, _) in &answers {
            expect_status(answer, 200)?;
        }
        Ok((answers.iter().filter(|(_, took)| *took >= DELAYED).count(), answers.len()))
    })
    .await
}

pub async fn mirror(tour: &mut Tour<'_>) -> Seen {
    const REQUESTS: usize = 100;
    tour.route_catalog(
        "  - route: [{destination: {host: catalog, subset: v1}}]
    mirror: {host: catalog, subset: v2}
    mirrorPercentage: {value: 100}
",
    )
    .await?;
    let (first, next) = (tour.running.app("catalog-v1")?.clone(), tour.running.app("catalog-v2")?.clone());
    for (answer, _) in tour.many("catalog", &[("x-demo-mark", "mirror")], REQUESTS, 8).await? {
        expect_status(&answer, 200)?;
        ensure!(answer.json()["version"] == "v1", "a mirrored answer came back: {}", answer.text());
    }
    let wanted = u64::try_from(REQUESTS)?;
    // Nobody waits for mirrored requests: they may come later.
    until(async || Ok((next.marked("mirror") >= wanted).then_some(())))
        .await
        .with_context(|| format!("v2 received {} of {REQUESTS}", next.marked("mirror")))?;
    let (of_first, of_next) = (first.marked("mirror"), next.marked("mirror"));
    ensure!((of_first, of_next) == (wanted, wanted), "v1 received {of_first}, v2 {of_next}");
    Ok(format!("{REQUESTS} answered by v1, {of_next} copies at v2"))
}

pub async fn circuit_breaker(tour: &mut Tour<'_>) -> Seen {
    const SLOW: [(&str, &str); 1] = [("x-demo-delay-ms", "400")];
    let envoy = tour.running.envoy("shop")?;
    // Too many that wait for a connection, and too many under way, are counted apart.
    let overflows = async || {
        let pending = envoy.sum(&["reviews", "upstream_rq_pending_overflow"]).await?;
        Ok::<_, anyhow::Error>(pending + envoy.sum(&["reviews", "upstream_rq_active_overflow"]).await?)
    };
    let before = overflows().await?;
    tour.editor.reviews("{connectionPool: {http: {http1MaxPendingRequests: 1, http2MaxRequests: 1}}}")?;
    let tour = &*tour;
    let (fine, refused) = until(async || {
        let answers = tour.many("reviews", &SLOW, 10, 10).await?;
        let fine = answers.iter().filter(|(answer, _)| answer.status == 200).count();
        let overflow = |answer: &Answer| answer.status == 503 && answer.text().contains("overflow");
        let refused = answers.iter().filter(|(answer, _)| overflow(answer)).count();
        ensure!(fine + refused == answers.len(), "{} answers are neither", answers.len() - fine - refused);
        Ok((fine >= 1 && refused >= 1).then_some((fine, refused)))
    })
    .await
    .context("no overflow")?;
    let counted = overflows().await? - before;
    ensure!(counted >= u64::try_from(refused)?, "{refused} refused, the sidecar counts {counted} overflows");
    tour.editor.reviews("")?;
    until(async || {
        let answers = tour.many("reviews", &SLOW, 10, 10).await?;
        Ok(answers.iter().all(|(answer, _)| answer.status == 200).then_some(()))
    })
    .await
    .context("still refused after the limit was lifted")?;
    Ok(format!("10 at once: {fine} answered, {refused} refused (503 UO, counted by Envoy); none without"))
}

pub async fn outlier(tour: &mut Tour<'_>) -> Seen {
    let broken = tour.running.app("flaky-2")?.clone();
    let instance = async || {
        let answer = tour.get("flaky", "/", &[("x-demo-retry", "off")]).await?;
        let json = answer.json();
        Ok::<_, anyhow::Error>((
            json["instance"] == "flaky-2",
            answer.status == 200,
            json["instance"].is_string(),
        ))
    };
    until(async || Ok(matches!(instance().await?, (true, true, _)).then_some(())))
        .await
        .context("flaky-2 got no request before it was broken")?;
    broken.set_broken(true);
    let outcome = ejected(&instance).await;
    broken.set_broken(false);
    let failures = outcome?;
    let begun = Instant::now();
    until(async || Ok(matches!(instance().await?, (true, true, _)).then_some(())))
        .await
        .context("flaky-2 did not come back")?;
    Ok(format!(
        "ejected after {failures} failures, back {:.1} s after it was mended",
        begun.elapsed().as_secs_f64()
    ))
}

/// Calls until only the other instance answers; returns how often the broken one failed.
async fn ejected(instance: &impl AsyncFn() -> anyhow::Result<(bool, bool, bool)>) -> anyhow::Result<u32> {
    let mut failures = 0;
    until(async || {
        for _ in 0..IN_A_ROW {
            let (is_broken, _, answered) = instance().await?;
            failures += u32::from(is_broken);
            if is_broken || !answered {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
    .context("flaky-2 was not ejected")?;
    ensure!(failures > 0, "flaky-2 got no request while it was broken");
    Ok(failures)
}
