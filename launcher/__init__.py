"""The launcher: starts ranks and watches them; never imports the library."""
