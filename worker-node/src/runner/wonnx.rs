//! wonnx, which has a session for each set of sizes.

use pollster::block_on;
use sentinel_inference::backend::wonnx::WonnxSession;
use sentinel_inference::error::{Error, Result};
use sentinel_inference::session::{Named, Plan, Provider, Session, Sizes};
use sentinel_inference::tensor::Tensor;

use super::{Engine, Model, OpenModel, Runner, session};

/// Sessions for other sizes that stay.
const MAX_SESSIONS: usize = 4;

struct OnWonnx {
    session: Session,
    adapter: Option<String>,
    /// The latest at the end.
    sessions: Vec<(Sizes, WonnxSession)>,
}

impl Engine for OnWonnx {
    fn run(&mut self, feeds: Named, fetches: &[&str]) -> Result<Vec<Tensor>> {
        let feeds = self.session.check_feeds(feeds)?;
        let sizes = feeds
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.sizes().to_vec()));
        let outputs = block_on(self.session_for(sizes.collect())?.run(feeds))?;
        let fetched = fetches.iter().map(|fetch| {
            let at = outputs.iter().position(|(name, _)| name == fetch);
            let at = at.ok_or_else(|| Error::internal("wonnx", format!("no output {fetch}")))?;
            Ok(outputs[at].1.clone())
        });
        fetched.collect()
    }
}

impl OnWonnx {
    fn session_for(&mut self, sizes: Sizes) -> Result<&WonnxSession> {
        let known = self.sessions.iter().position(|(known, _)| *known == sizes);
        let used = match known {
            Some(at) => self.sessions.remove(at),
            None => {
                let Plan::Wonnx { model } = self.session.plan(&sizes)? else {
                    return Err(Error::internal("wonnx", "no other provider was named"));
                };
                let adapter = self.adapter.as_deref();
                (sizes, block_on(WonnxSession::create_on(&model, adapter))?)
            }
        };
        if self.sessions.len() == MAX_SESSIONS {
            self.sessions.remove(0);
        }
        self.sessions.push(used);
        Ok(&self.sessions.last().expect("it was pushed").1)
    }
}

pub fn open(open: &OpenModel) -> Result<Runner> {
    let session = session(open, Provider::Wonnx)?;
    Ok(Runner {
        model: Model::of(&session),
        provider: Provider::Wonnx.name(),
        reason: "wonnx computes every operator".into(),
        engine: Box::new(OnWonnx {
            session,
            adapter: open.adapter.clone(),
            sessions: Vec::new(),
        }),
    })
}
