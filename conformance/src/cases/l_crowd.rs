//! L5: a thousand clients that come back at once.

use std::time::{Duration, Instant};

use super::settled;
use crate::{
    context::{Context, Failure, Outcome},
    require,
    stream::{Known, Stream},
};

/// How long a thousand streams may take together.
const CROWD_TIME: Duration = Duration::from_mins(1);
const CROWD: usize = 1000;

pub(super) async fn l5(context: Context) -> Outcome {
    let kind = context.kind;
    let (a, b) = (context.name("a"), context.name("b"));
    let mut first = settled(&context, &[&a, &b]).await?;
    let known = first.known(kind).clone();
    drop(first);
    let start = Instant::now();
    let resume = |context: Context, known: Known| async move { resumed(&context, &known).await };
    let resumed = crowd((0..CROWD).map(|_| resume(context.clone(), known.clone()))).await?;
    let took = start.elapsed();
    // Each of them is alive, and none has missed the change.
    context.put(&a, 2).await?;
    let (streams, came): (Vec<Stream>, Vec<Came>) = resumed.into_iter().unzip();
    let follow = |context: Context, mut stream: Stream, a: String| async move {
        let body = context.body(&a, 2);
        stream.until_within(kind, "a change after all came", CROWD_TIME, |k| k.has(&a, &body)).await
    };
    crowd(streams.into_iter().map(|stream| follow(context.clone(), stream, a.clone()))).await?;
    let (resources, bytes, silent) = came
        .iter()
        .fold((0, 0, 0), |(r, b, s), c| (r + c.resources, b + c.bytes, s + usize::from(!c.answered)));
    context.note(format!(
        "{CROWD} streams in {} ms, {resources} resources, {bytes} bytes, {silent} told nothing",
        took.as_millis()
    ));
    // State of the world has no way to tell what a client holds but the version of the whole, and a server may answer
    // that with the whole: then once, and no more.
    let needed = if context.variant.is_delta() { 0 } else { 2 * (CROWD - silent) };
    require!(resources <= needed, "{} resources were sent to clients that had them", resources - needed);
    Ok(())
}

/// What a client was sent when it came back.
struct Came {
    answered: bool,
    resources: usize,
    bytes: usize,
}

/// A client that comes back with what it held, and what it is sent until nothing more comes.
async fn resumed(context: &Context, known: &Known) -> Outcome<(Stream, Came)> {
    let kind = context.kind;
    let mut stream = context.open().await?;
    stream.resume(kind, &[], known).await?;
    let mut came = Came { answered: false, resources: 0, bytes: 0 };
    let mut within = CROWD_TIME;
    // A server that knows that nothing changed may leave state of the world at that.
    if !context.variant.is_delta() {
        within = CROWD_TIME / 4;
    }
    while let Some(response) = stream.next_within(kind, within).await? {
        stream.ack(kind, &response).await?;
        came.answered = true;
        came.resources += response.resources.len();
        came.bytes += response.bytes;
        within = context.patience.quiet;
    }
    require!(came.answered || !context.variant.is_delta(), "a stream was not answered");
    require!(stream.known(kind).held.len() == known.held.len(), "a stream lost something");
    Ok((stream, came))
}

/// Runs all of them at once.
async fn crowd<T: Send + 'static>(
    clients: impl Iterator<Item = impl Future<Output = Outcome<T>> + Send + 'static>,
) -> Outcome<Vec<T>> {
    let mut running = clients.collect::<tokio::task::JoinSet<_>>();
    let mut done = Vec::with_capacity(running.len());
    while let Some(outcome) = running.join_next().await {
        done.push(outcome.map_err(|e| Failure::Broken(e.to_string()))??);
    }
    Ok(done)
}
