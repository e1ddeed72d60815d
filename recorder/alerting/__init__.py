"""From Alertmanager to people: the relay that sends alerts to webhooks, e-mail, Telegram, DingTalk, Feishu and WeCom.

Owns their formats, signatures, limits and error codes. Never knows what is recorded, and never decides which alert is
worth a message: that is Alertmanager's routes.
"""
