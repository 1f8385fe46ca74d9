"""Settings of language models: `MCP_PLATFORM_MODELS__<NAME>`."""

from typing import Literal, Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from mcp_platform.contracts.models import NANOS, Budget


class ChainedModel(BaseModel):
    """A language model of the chain; times in seconds, prices in US dollars for a million tokens."""

    model: str = Field(pattern=r"^[a-z0-9_]+:\S+$", max_length=128)
    """As LangChain's `init_chat_model` takes it: `provider:name`."""
    base_url: str | None = None
    """The provider's address, where it is not the provider's usual one."""
    api_key: SecretStr | None = None
    api_key_secret: str | None = None
    """The name of a shared secret that holds the key; it is read when it is needed."""
    temperature: float | None = Field(0.0, ge=0, le=2)
    """Null leaves it to the provider: some models refuse to be told."""
    timeout: float = Field(60.0, gt=0, le=600)
    """How long one answer may take."""
    max_output_tokens: int = Field(4096, gt=0)
    method: Literal["function_calling", "json_schema", "json_mode"] = "function_calling"
    """How a provider is asked for an answer that fits a schema."""
    input_price: float | None = Field(None, ge=0)
    output_price: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.api_key is not None and self.api_key_secret is not None:
            raise ValueError(f"{self.model}: give api_key or api_key_secret, not both")
        return self


class ModelSettings(BaseModel):
    """Language models, and what they may cost."""

    chain: list[ChainedModel] = Field([], max_length=8)
    """The model that is asked, then those that are asked where it fails. None: rules have to do."""
    concurrency: int = Field(4, gt=0)
    """How many questions one worker asks at once."""
    repairs: int = Field(2, ge=0, le=5)
    """How often a model is told what is wrong with its answer."""
    retries: int = Field(2, ge=0, le=10)
    """How often a model that is away is asked again before the next one is."""
    patience: float = Field(300.0, ge=0, le=900)
    """How many seconds a question may wait for providers that say that they are busy."""
    daily_tokens: int = Field(0, ge=0)
    """How many tokens one account may use in a day (UTC); 0 for no bound."""
    daily_dollars: float = Field(0.0, ge=0)
    """How many US dollars; 0 for no bound."""
    most_input: int = Field(65_536, ge=1024)
    """How many bytes of data one question may hold; the longest parts are cut."""

    @model_validator(mode="after")
    def _priced(self) -> Self:
        unpriced = [each.model for each in self.chain if None in (each.input_price, each.output_price)]
        if self.daily_dollars and unpriced:
            names = ", ".join(unpriced)
            raise ValueError(f"a budget in dollars needs input_price and output_price of {names}")
        return self

    @property
    def budget(self) -> Budget:
        """What one account's calls may come to in a day."""
        return Budget(tokens=self.daily_tokens, nanos=round(self.daily_dollars * NANOS))
