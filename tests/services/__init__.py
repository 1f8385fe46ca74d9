"""The real servers that tests run against: started once a session, each in a folder of its own."""
