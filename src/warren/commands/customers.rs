//! `warren customers`

use clap::Subcommand;
use warren_wire::v1;

use crate::{
    cli::Noun,
    client::answer,
    output::{Format, List},
    views::{Customer, Gone},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a customer
    Create {
        /// 1 to 63 of a-z 0-9 - _ . starting with a letter or digit
        name: String,
    },
    /// List customers and their groups
    List,
    /// Show one customer
    Show {
        /// Id or name
        customer: String,
    },
    /// Delete a customer that has no groups left
    Delete {
        /// Id or name
        customer: String,
    },
}

pub(crate) async fn run(noun: Noun<Verb>, format: Format) -> anyhow::Result<()> {
    let mut customers = noun.api.connect().await?.customers();
    match noun.verb {
        Verb::Create { name } => {
            let made = answer(customers.create(v1::CreateCustomerRequest { name })).await?;
            format.show(&Customer::from(made))
        }
        Verb::List => {
            let found = answer(customers.list(v1::ListCustomersRequest {})).await?;
            format.show(&found.customers.into_iter().map(Customer::from).collect::<List<_>>())
        }
        Verb::Show { customer } => {
            let found = answer(customers.show(v1::ShowCustomerRequest { customer })).await?;
            format.show(&Customer::from(found))
        }
        Verb::Delete { customer } => {
            answer(customers.delete(v1::DeleteCustomerRequest { customer: customer.clone() })).await?;
            format.done(&Gone { deleted: &customer }, format_args!("customer {customer} is deleted"))
        }
    }
}
