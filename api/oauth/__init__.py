"""The OAuth 2.1 authorization server: clients sign a user in here, and get tokens for one endpoint each."""
