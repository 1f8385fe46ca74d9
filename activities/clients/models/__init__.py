"""Language models of any provider, by LangChain."""
