//! The cases, by group.

mod a_stream;
mod b_nonce;
mod c_names;
mod d_grouping;
mod e_delta;
mod f_versions;
mod g_order;
mod h_errors;
mod i_ttl;
mod j_xdstp;
mod k_types;
mod l_crowd;
mod l_load;
mod proxy;

use crate::{
    case::Case,
    context::{Context, Outcome},
    stream::Stream,
};

/// Every case, in the order of the list.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [
        a_stream::CASES,
        b_nonce::CASES,
        c_names::CASES,
        d_grouping::CASES,
        e_delta::CASES,
        f_versions::CASES,
        g_order::CASES,
        h_errors::CASES,
        i_ttl::CASES,
        j_xdstp::CASES,
        k_types::CASES,
        l_load::CASES,
    ]
    .into_iter()
    .flatten()
}

/// Turns an `async fn(Context) -> Outcome` into what a [`Case`] holds.
macro_rules! case {
    ($id:literal, $name:literal, $clause:expr, $function:path) => {
        $crate::case::Case::new($id, $name, $clause, |context| Box::pin($function(context)))
    };
}
pub(crate) use case;

/// Serves the names with content 1 and returns a stream that has subscribed to all of them and acknowledged them.
async fn settled(context: &Context, names: &[&str]) -> Outcome<Stream> {
    let mut change = context.change();
    for name in names {
        change = change.put(context.kind, name, 1);
    }
    change.apply().await?;
    let mut stream = context.open().await?;
    stream.subscribe(context.kind, names).await?;
    holds(context, &mut stream, names, 1).await?;
    stream.settle(context.kind).await?;
    Ok(stream)
}

/// Waits until the server has read every request sent so far: requests of a stream are read in order, so one that
/// asks for one more name is answered after them. Silence alone would not prove it on a busy machine.
async fn fence(context: &Context, stream: &mut Stream) -> Outcome {
    let (kind, fence) = (context.kind, context.name("fence"));
    context.put(&fence, 1).await?;
    let mut names: Vec<String> = stream.known(kind).names.iter().cloned().collect();
    names.push(fence.clone());
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    stream.subscribe(kind, &names).await?;
    holds(context, stream, &[&fence], 1).await?;
    stream.settle(kind).await?;
    Ok(())
}

/// Waits until the client holds the names with that content.
async fn holds(context: &Context, stream: &mut Stream, names: &[&str], number: u32) -> Outcome {
    let what = format!("{names:?} with content {number}");
    let kind = context.kind;
    stream.until(kind, &what, |known| names.iter().all(|n| known.has(n, &context.body(n, number)))).await
}

/// Changes a resource and waits until the client has the change: the stream lives and the name is subscribed.
async fn updates(context: &Context, stream: &mut Stream, name: &str, number: u32) -> Outcome {
    context.put(name, number).await?;
    holds(context, stream, &[name], number).await
}
