"""A database engine: mssql-django's, without a server. It compiles; what it would send it keeps."""
