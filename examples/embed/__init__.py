"""Programs in C and C++ that embed the installed library, and the weights they read; see README.md."""
