"""How the configuration file is read, table by table. The door is `recorder.configfile`. Never starts anything."""
