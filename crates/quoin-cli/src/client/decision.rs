//! What every node is told or asked about decisions, through the gateway. Nothing of it is believed
//! before it is verified: statements are signed, and charters too.

use super::Gateway;
use crate::failure::Failure;
use quoin_api::decision::{
    ExplainBody, ExplainedBody, FreezesBody, OutstandingBody, ProposalsBody, StatementTakenBody,
    StatementToAllBody,
};

impl Gateway {
    /// Brings a statement to the nodes.
    pub async fn state(&self, body: &StatementToAllBody) -> Result<StatementTakenBody, Failure> {
        let builder = self.http.post(self.url("/v1/statements")).json(body);
        self.read(
            builder,
            "the gateway did not bring the statement to the nodes",
        )
        .await
    }

    /// The freezes that each node knows.
    pub async fn freezes(&self) -> Result<FreezesBody, Failure> {
        let builder = self.http.get(self.url("/v1/freezes"));
        self.read(builder, "the gateway did not show the freezes")
            .await
    }

    /// The proposed charters that each node knows.
    pub async fn proposals(&self) -> Result<ProposalsBody, Failure> {
        let builder = self.http.get(self.url("/v1/proposals"));
        self.read(builder, "the gateway did not show the proposed charters")
            .await
    }

    /// What each node knows to be signed and able to execute.
    pub async fn outstanding(&self) -> Result<OutstandingBody, Failure> {
        let builder = self.http.get(self.url("/v1/outstanding"));
        self.read(builder, "the gateway did not show what is outstanding")
            .await
    }

    /// What each node would decide about a question.
    pub async fn explain(&self, body: &ExplainBody) -> Result<ExplainedBody, Failure> {
        let builder = self.http.post(self.url("/v1/explain")).json(body);
        self.read(builder, "the nodes did not explain the request")
            .await
    }
}
